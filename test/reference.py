"""How the server must read a stream of requests: RFC 9112 and the server's own rules, byte after byte and slow.

This is what test/differential.py compares the server with. It shares nothing with the server: it follows the grammar,
rule by rule, and looks at one byte at a time from left to right, so that the first wrong byte decides. A section
number alone is one of RFC 9112. Importable only: read_stream() is the whole interface.
"""
import dataclasses
import itertools
import re

# The server's own limits, in bytes. What RFC 9112 leaves to the server is decided here.
REQUEST_LINE_LIMIT = 8000  # method, SP and target (section 3)
METHOD_LIMIT = 32
HEAD_LIMIT = 16384  # from the request line through the empty line
CONTENT_LIMIT = 1048576
CHUNK_EXTENSION_LIMIT = 4096  # of all chunks of a request, and leading zeros of their sizes (section 7.1.1)
TRAILER_LIMIT = 4096  # the trailer's field lines with their line ends

KNOWN_METHODS = (b"GET", b"HEAD", b"POST", b"PUT", b"DELETE", b"OPTIONS", b"TRACE", b"PATCH")
TO_GET = (b"GET", b"HEAD")
TO_ANY = (b"GET", b"HEAD", b"POST", b"PUT", b"DELETE", b"PATCH")
ROUTES = {b"/pipeline": TO_GET, b"/baseline11": TO_GET + (b"POST",), b"/echo": TO_ANY}

# The arguments of a query that describes an answer: the smallest value, the largest, and the one without an argument.
DELAY_LIMIT_MS = 3600 * 1000
NUMBER = (0, 2**63 - 1)
ARGUMENTS = {
    b"s": (*NUMBER, 0),
    b"r": (200, 599, 200),
    b"t": (0, DELAY_LIMIT_MS, 0),
    b"c": (*NUMBER, 1),
    b"C": (*NUMBER, 0),
    b"K": (*NUMBER, 0),
    b"k": (*NUMBER, 0),
    b"p": (*NUMBER, 0),
    b"d": (0, DELAY_LIMIT_MS, 0),
    b"R": (*NUMBER, 0),
    b"b": (*NUMBER, None),
    b"x": (*NUMBER, None),
}
CONTENT = bytes(ord("\n" if at % 50 == 49 else "." if at % 10 == 0 else str(at % 10)) for at in range(200_000))

CR, SP, HTAB = 0x0D, 0x20, 0x09
QUOTE, BACKSLASH = 0x22, 0x5C
OWS = b" \t"  # RFC 9110 section 5.6.3

# RFC 5234 appendix B.1, RFC 9110 sections 5.5 and 5.6.
DIGIT = frozenset(b"0123456789")
HEXDIG = frozenset(b"0123456789abcdefABCDEF")
ALPHA = frozenset(b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ")
VCHAR = frozenset(range(0x21, 0x7F))
OBS_TEXT = frozenset(range(0x80, 0x100))
WHITE_SPACE = frozenset(OWS)
TCHAR = ALPHA | DIGIT | frozenset(b"!#$%&'*+-.^_`|~")
FIELD_VALUE = VCHAR | OBS_TEXT | WHITE_SPACE
QDTEXT = FIELD_VALUE - {QUOTE, BACKSLASH}
QUOTED_PAIR = FIELD_VALUE

# RFC 3986 appendix A. "%" stands in neither: percent-encoding has its own rule.
UNRESERVED = ALPHA | DIGIT | frozenset(b"-._~")
SUB_DELIMS = frozenset(b"!$&'()*+,;=")
REG_NAME = UNRESERVED | SUB_DELIMS
PATH_AND_QUERY = VCHAR - frozenset(b'"<>#')  # more than RFC 3986 allows: what browsers send, and "%" as it is
IP_LITERAL = HEXDIG | frozenset(b":.")


@dataclasses.dataclass
class Outcome:
    """What one request must lead to."""

    status: int
    closes: bool  # the answer is the connection's last, and says so
    is_head: bool = False  # the answer has no content
    content: bytes = b""  # of the request, without its transfer coding
    sum: int | None = None  # what /baseline11 answers
    answer: bytes | None = None  # the answer's content, where a route prescribes it, with its transfer coding
    fields: dict | None = None  # of the answer, where more is prescribed than for all
    ms: int = 0  # the answer takes at least so long
    cut: int | None = None  # the connection is reset after so many bytes of the answer


class Refusal(Exception):
    """The request is answered with this status, and nothing behind its first wrong byte is read."""

    def __init__(self, status):
        super().__init__(status)
        self.status = status


class Incomplete(Exception):
    """The stream ends inside a request."""


class Unpredictable(Exception):
    """The answer is random, or too long to be made here."""


class Budget:
    """Bytes that a part of the request may take."""

    def __init__(self, limit, status):
        self.left = limit
        self.status = status

    def spend(self):
        if self.left == 0:
            raise Refusal(self.status)
        self.left -= 1


class Reader:
    """A place in the stream, and the limits of what is being read there. A byte that is both wrong and too much is
    wrong: limits count what is taken."""

    def __init__(self, stream):
        self.stream = stream
        self.at = 0
        self.head_end = None  # no byte of the head stands here or behind
        self.target_end = None  # nor of the target; the SP behind it may
        self.budget = None  # pays for every byte taken

    def peek(self):
        if self.at == len(self.stream):
            raise Incomplete
        return self.stream[self.at]

    def skip(self):
        if self.target_end is not None and self.at >= self.target_end and self.peek() != SP:
            raise Refusal(414)
        if self.head_end is not None and self.at >= self.head_end:
            raise Refusal(431)
        if self.budget is not None:
            self.budget.spend()
        self.at += 1

    def take(self, allowed):
        """One byte out of a set; any other is wrong."""
        byte = self.peek()
        if byte not in allowed:
            raise Refusal(400)
        self.skip()
        return byte

    def take_exactly(self, expected):
        for byte in expected:
            self.take((byte,))

    def take_line_end(self):
        """Section 2.2: CRLF. A bare CR is invalid; that a bare LF may be recognized is left out."""
        self.take_exactly(b"\r\n")


class Request:
    """What has been read of a request so far."""

    def __init__(self):
        self.method = b""
        self.target = b""  # path and query
        self.minor = 1
        self.host_count = 0
        self.content_length = None
        self.codings = None  # names in lower case; None without a Transfer-Encoding field
        self.options = []  # of Connection, in lower case
        self.expectations = []  # in lower case
        self.head = b""  # as it has arrived, without empty lines before it
        self.content = b""


def read_stream(stream):
    """All outcomes of a connection, in order. What is incomplete at the stream's end leads to none."""
    reader = Reader(stream)
    outcomes = []
    while True:
        request = Request()
        outcome = None
        try:
            read_head(reader, request)
            check_expectations(request)
            if is_answered_early(request):
                outcome = answer(request)
                outcomes.append(outcome)
            read_content(reader, request)
        except Incomplete:
            return outcomes
        except Refusal as refusal:
            # Section 2.2: what is not HTTP is answered with an error and the connection closed.
            if outcome is None:
                outcomes.append(Outcome(refusal.status, True, request.method == b"HEAD"))
            return outcomes
        if outcome is None:
            outcome = answer(request)
            outcomes.append(outcome)
        if outcome.closes or outcome.cut is not None:  # section 9.6: nothing behind it is processed
            return outcomes


# ---- The head -----------------------------------------------------------------------------------------------------


def read_head(reader, request):
    """Section 2.1: request-line CRLF *( field-line CRLF ) CRLF, behind any empty lines (section 2.2)."""
    while reader.peek() == CR:
        reader.take_line_end()
    start = reader.at
    reader.head_end = start + HEAD_LIMIT
    read_request_line(reader, request)
    while reader.peek() != CR:
        read_field_line(reader, request)
    reader.take_line_end()
    reader.head_end = None
    request.head = reader.stream[start : reader.at]
    check_head(request)


def read_request_line(reader, request):
    """Section 3: method SP request-target SP HTTP-version, each SP exactly one."""
    start = reader.at
    method = bytearray()
    method.append(reader.take(TCHAR))  # section 3.1, RFC 9110 section 9.1: a token, in this case
    while reader.peek() in TCHAR:
        if len(method) == METHOD_LIMIT:
            raise Refusal(501)
        method.append(reader.take(TCHAR))
    reader.take((SP,))
    request.method = bytes(method)
    reader.target_end = start + REQUEST_LINE_LIMIT
    read_target(reader, request)
    reader.take((SP,))
    reader.target_end = None
    # Section 2.3: HTTP-version = "HTTP" "/" DIGIT "." DIGIT, and case counts.
    reader.take_exactly(b"HTTP/")
    major = reader.take(DIGIT) - 0x30
    reader.take_exactly(b".")
    request.minor = reader.take(DIGIT) - 0x30
    reader.take_line_end()
    if major != 1:
        raise Refusal(505)  # RFC 9110 section 15.6.6


def read_target(reader, request):
    """Section 3.2: origin-form, absolute-form, authority-form or asterisk-form; the method says which may stand."""
    first = reader.peek()
    if first == ord("/"):  # section 3.2.1
        request.target = read_path_and_query(reader)
    elif request.method == b"CONNECT":  # section 3.2.3; answered with 501 in any case, so a path behind it may stand
        read_authority(reader)
        read_path_and_query(reader)
    elif first == ord("*") and request.method == b"OPTIONS":  # section 3.2.4
        reader.take(b"*")
    else:  # section 3.2.2
        read_scheme(reader)
        read_authority(reader)
        path_and_query = read_path_and_query(reader)
        # RFC 9110 section 4.2.3: an empty path is "/"
        request.target = path_and_query if path_and_query[:1] == b"/" else b"/" + path_and_query


def read_scheme(reader):
    """RFC 9110 section 4.2: "http" or "https", and "://"; RFC 3986 section 3.1: a scheme has no case."""
    for letter in b"http":
        reader.take((letter, letter - 0x20))
    if reader.peek() in b"sS":
        reader.take(b"sS")
    reader.take_exactly(b"://")


def read_authority(reader):
    """RFC 3986 section 3.2: host [ ":" port ]. RFC 9110 sections 4.2.1 and 4.2.4: that there is no host is an error,
    and so is user information. What stands behind it must be the path, the query or the target's end."""
    if reader.peek() in b":/? ":
        raise Refusal(400)
    read_host_and_port(reader)
    if reader.peek() not in b"/? ":
        raise Refusal(400)


def read_host_and_port(reader):
    """RFC 3986 sections 3.2.2 and 3.2.3: an IP literal or a possibly empty reg-name (which every IPv4 address is, too);
    then perhaps ":" and any number of digits. Stops at the first byte that is none of it."""
    if reader.peek() == ord("["):
        reader.take(b"[")
        reader.take(IP_LITERAL)
        while reader.peek() != ord("]"):
            reader.take(IP_LITERAL)
        reader.take(b"]")
    else:
        while reader.peek() in REG_NAME or reader.peek() == ord("%"):
            take_name_character(reader)
    if reader.peek() == ord(":"):
        reader.take(b":")
        while reader.peek() in DIGIT:
            reader.take(DIGIT)


def read_path_and_query(reader):
    """RFC 3986 sections 3.3 and 3.4, up to the SP behind the target. The path may be empty; if it is not it starts with
    "/", for the caller has seen to it that only "/", "?" or SP comes first."""
    found = bytearray()
    while reader.peek() != SP:
        found.append(reader.take(PATH_AND_QUERY))
    return bytes(found)


def take_name_character(reader):
    """One byte of a reg-name, or RFC 3986 section 2.1: pct-encoded = "%" HEXDIG HEXDIG."""
    if reader.peek() == ord("%"):
        reader.take(b"%")
        reader.take(HEXDIG)
        reader.take(HEXDIG)
    else:
        reader.take(REG_NAME)


def read_field_line(reader, request):
    """Section 5: field-name ":" OWS field-value OWS. The name is a token with no white space behind it (section 5.1);
    a line that starts with white space is obs-fold, or worse, and refused (sections 2.2 and 5.2)."""
    name = read_field_name(reader)
    value = read_field_value(reader)
    reader.take_line_end()
    if name == b"host":
        add_host(request, value)
    elif name == b"content-length":
        add_content_length(request, value)
    elif name == b"transfer-encoding":
        add_transfer_codings(request, value)
    elif name == b"connection":  # RFC 9110 section 7.6.1: #connection-option, and they have no case
        request.options += list_elements(value)
    elif name == b"expect":  # RFC 9110 section 10.1.1: #expectation, and the one that is known has no case
        request.expectations += list_elements(value)


def read_field_name(reader):
    """RFC 9110 section 5.1: a token, and it has no case. Takes the ":" behind it."""
    name = bytearray((reader.take(TCHAR),))
    while reader.peek() != ord(":"):
        name.append(reader.take(TCHAR))
    reader.take(b":")
    return bytes(name).lower()


def read_field_value(reader):
    """RFC 9110 section 5.5: VCHAR, obs-text, SP and HTAB; what surrounds it is not part of it."""
    value = bytearray()
    while reader.peek() != CR:
        value.append(reader.take(FIELD_VALUE))
    return bytes(value).strip(OWS)


def add_host(request, value):
    """RFC 9110 section 7.2: Host = uri-host [ ":" port ]; section 3.2: a second one is wrong."""
    request.host_count += 1
    reader = Reader(value + b"\r")
    read_host_and_port(reader)
    if request.host_count > 1 or reader.peek() != CR:
        raise Refusal(400)


def add_content_length(request, value):
    """RFC 9110 section 8.6: 1*DIGIT. A second field line could be read in two ways, even if it says the same."""
    if request.content_length is not None:
        raise Refusal(400)
    length = 0
    for byte in value:
        if byte not in DIGIT:
            raise Refusal(400)
        length = 10 * length + byte - 0x30
    if value == b"" or length >= 2**63:
        raise Refusal(400)
    request.content_length = length


def add_transfer_codings(request, value):
    """Section 6.1: #transfer-coding. Nothing may stand behind "chunked", on this line or a later one: it is the last
    coding and applied once.

    Whatever else an element is, it is another coding: "chunked" with a parameter, which it has not (section 7.1), or
    none by the grammar of RFC 9110 section 10.1.4. It is refused in any case, so its parts need not be told apart, nor
    a comma inside a quoted parameter.
    """
    if request.codings is None:
        request.codings = []
    for coding in list_elements(value):
        if b"chunked" in request.codings:
            raise Refusal(400)
        request.codings.append(coding)


def list_elements(value):
    """RFC 9110 section 5.6.1.2: elements stand between commas, with white space around, and empty ones count not.
    Those of the lists here have no case."""
    elements = [element.strip(OWS).lower() for element in value.split(b",")]
    return [element for element in elements if element != b""]


def check_head(request):
    """What only the whole head can tell. What makes it malformed goes before what is only not supported."""
    if request.host_count == 0 and request.minor > 0:  # section 3.2
        raise Refusal(400)
    if request.method == b"CONNECT":  # RFC 9931 section 8: what follows may be the first bytes of a tunnel
        raise Refusal(501)
    if request.codings is not None:
        if request.minor == 0 or request.content_length is not None:  # section 6.1: faulty framing, smuggling
            raise Refusal(400)
        if request.codings[-1:] != [b"chunked"]:  # section 6.3: the length of the content is unknown
            raise Refusal(400)
        if len(request.codings) > 1:  # section 6.1: a coding that is not understood
            raise Refusal(501)
    elif request.content_length is not None and request.content_length > CONTENT_LIMIT:
        raise Refusal(413)


def check_expectations(request):
    """RFC 9110 section 10.1.1: a client that waits for 100 before it sends content gets an error that is certain already."""
    has_content = request.codings is not None or (request.content_length or 0) > 0
    if has_content and request.minor > 0 and b"100-continue" in request.expectations:
        status = status_of(request)
        if status != 200:
            raise Refusal(status)


# ---- The content --------------------------------------------------------------------------------------------------


def read_content(reader, request):
    """Section 6.3, for requests: chunked, or as long as Content-Length says, or none."""
    if request.codings is not None:
        request.content = read_chunked(reader)
    elif request.content_length is not None:
        request.content = read_bytes(reader, request.content_length)


def read_bytes(reader, size):
    if len(reader.stream) - reader.at < size:
        raise Incomplete
    found = reader.stream[reader.at : reader.at + size]
    reader.at += size
    return found


def read_chunked(reader):
    """Section 7.1: *chunk last-chunk trailer-section CRLF."""
    content = b""
    extensions = Budget(CHUNK_EXTENSION_LIMIT, 413)
    while True:
        size = read_chunk_size(reader, CONTENT_LIMIT - len(content), extensions)
        read_chunk_extensions(reader, extensions)
        reader.take_line_end()
        if size == 0:
            break
        content += read_bytes(reader, size)
        reader.take_line_end()
    read_trailer_section(reader)
    return content


def read_chunk_size(reader, limit, extensions):
    """Section 7.1: 1*HEXDIG. Zeros may lead it, but not without end."""
    size = int(chr(reader.take(HEXDIG)), 16)
    while True:
        if size > limit:
            raise Refusal(413)
        byte = reader.peek()
        if byte not in HEXDIG:
            return size
        if size == 0 and byte == ord("0"):
            extensions.spend()
        size = 16 * size + int(chr(reader.take(HEXDIG)), 16)


def read_chunk_extensions(reader, extensions):
    """Section 7.1.1: *( BWS ";" BWS chunk-ext-name [ BWS "=" BWS chunk-ext-val ] ), then CR.

    White space is bad but allowed on both sides of ";" and "=", and nowhere else: not before the CR.
    """
    reader.budget = extensions
    while reader.peek() != CR:
        skip_white_space(reader)
        reader.take(b";")
        skip_white_space(reader)
        read_token(reader)
        if extension_has_value(reader):
            skip_white_space(reader)
            reader.take(b"=")
            skip_white_space(reader)
            read_token_or_quoted_string(reader)
    reader.budget = None


def extension_has_value(reader):
    """Whether "=" follows, perhaps behind white space; otherwise that belongs to the next extension's ";"."""
    at = reader.at
    while at < len(reader.stream) and reader.stream[at] in WHITE_SPACE:
        at += 1
    return at < len(reader.stream) and reader.stream[at] == ord("=")


def skip_white_space(reader):
    while reader.peek() in WHITE_SPACE:
        reader.skip()


def read_token(reader):
    """RFC 9110 section 5.6.2: 1*tchar. Stops at the first other byte."""
    token = bytearray((reader.take(TCHAR),))
    while reader.peek() in TCHAR:
        token.append(reader.take(TCHAR))
    return bytes(token)


def read_token_or_quoted_string(reader):
    """RFC 9110 section 5.6.4: DQUOTE *( qdtext / quoted-pair ) DQUOTE."""
    if reader.peek() != QUOTE:
        read_token(reader)
        return
    reader.take((QUOTE,))
    while reader.peek() != QUOTE:
        if reader.peek() == BACKSLASH:
            reader.take((BACKSLASH,))
            reader.take(QUOTED_PAIR)
        else:
            reader.take(QDTEXT)
    reader.take((QUOTE,))


def read_trailer_section(reader):
    """Section 7.1.2: *( field-line CRLF ), then the CRLF that ends the content. The fields are discarded."""
    reader.budget = Budget(TRAILER_LIMIT, 431)
    while reader.peek() != CR:
        read_field_name(reader)
        read_field_value(reader)
        reader.take_line_end()
    reader.budget = None
    reader.take_line_end()


# ---- The answer ---------------------------------------------------------------------------------------------------


def is_answered_early(request):
    """The echo of the head does without the content."""
    return path_of(request) == b"/echo" and request.method != b"OPTIONS" and status_of(request) == 200


def answer(request):
    """A request that was read whole: what the routes answer, and whether the connection goes on (section 9.3)."""
    path, _, query = request.target.partition(b"?")
    outcome = Outcome(status_of(request), closes(request), request.method == b"HEAD", request.content)
    if request.method == b"OPTIONS" or outcome.status != 200:
        if outcome.status == 400 and b"100-continue" not in request.expectations:
            outcome.answer = b"bad value: %b\n" % describe(query)
        return outcome
    if path == b"/pipeline":
        outcome.answer = b"ok"
    elif path == b"/baseline11":
        outcome.sum = sum_of(request, query)
        outcome.answer = b"%d" % outcome.sum
    elif path == b"/echo":
        outcome.answer = request.head
    elif path.startswith(b"/delay/"):
        outcome.ms = int(path[7:])
        outcome.answer = b"%d" % outcome.ms
    else:
        description = describe(query)
        if description is not None:
            generate(request, outcome, description)
    return outcome


def path_of(request):
    return request.target.partition(b"?")[0]


def status_of(request):
    """200 stands for whatever the route answers."""
    path, _, query = request.target.partition(b"?")
    if any(expectation != b"100-continue" for expectation in request.expectations):
        return 417  # RFC 9110 section 10.1.1
    if request.method not in KNOWN_METHODS:
        return 501  # RFC 9110 section 9.1
    if request.method == b"OPTIONS":
        return 200  # RFC 9110 section 9.3.7
    methods = ROUTES.get(path)
    status = 200
    if path.startswith(b"/delay/"):
        number = path[7:]
        if number == b"" or not DIGIT.issuperset(number) or decimal(number) > DELAY_LIMIT_MS:
            return 404
        methods = TO_GET
    elif methods is None:
        description = describe(query)
        if description is None and path != b"/":
            return 404
        methods = TO_ANY
        if isinstance(description, bytes):
            status = 400
            if b"100-continue" in request.expectations:  # before the client sends content for nothing
                return status
    return status if request.method in methods else 405


def describe(query):
    """The arguments as a dictionary; the name of the first one whose value is wrong; or None if there is no argument
    with a name that is known."""
    description = {name: default for name, (_, _, default) in ARGUMENTS.items()}
    is_any = False
    for argument in re.split(rb"[&?,;/]", query):
        name, equals, value = argument.partition(b"=")
        if not equals or name not in ARGUMENTS:
            continue
        is_any = True
        least, most, _ = ARGUMENTS[name]
        form = re.fullmatch(rb"([0-9]+)([kmg]?)(r?)(?::([0-9]+))?", value)
        if not form:
            return name
        number = decimal(form[1]) << {b"": 0, b"k": 10, b"m": 20, b"g": 30}[form[2]]
        percentage = decimal(form[4] or b"100")
        if not least <= number <= most or percentage > 100:
            return name
        if percentage != 0:
            if percentage != 100 or (form[3] and number != least):
                raise Unpredictable
            description[name] = number
    return description if is_any else None


def generate(request, outcome, description):
    """The answer that the description asks for."""
    size, status, length = description[b"s"], description[b"r"], description[b"b"]
    has_content = status not in (204, 205, 304)
    if description[b"R"] or (has_content and size > len(CONTENT)):
        raise Unpredictable
    is_chunked = bool(description[b"k"]) and has_content and request.minor > 0
    is_unsized = (bool(description[b"k"]) and request.minor == 0) or length == 0
    if description[b"K"]:
        outcome.closes = False
    if description[b"C"] or length is not None or is_unsized:
        outcome.closes = True

    outcome.status = status
    outcome.fields = {}
    if not description[b"c"]:
        outcome.fields[b"Cache-Control"] = b"no-cache"
    if is_chunked:
        outcome.fields[b"Transfer-Encoding"] = b"chunked"
    elif not is_unsized and status != 204:
        outcome.fields[b"Content-Length"] = b"%d" % (size if length is None and status != 205 else length or 0)
    if outcome.closes:
        outcome.fields[b"Connection"] = b"close"
    elif request.minor == 0:
        outcome.fields[b"Connection"] = b"keep-alive"

    content = CONTENT[:size] if has_content and not outcome.is_head else b""
    piece_size = min(description[b"p"], len(content)) or len(content) or 1
    pieces = [content[at : at + piece_size] for at in range(0, len(content), piece_size)]
    if is_chunked and not outcome.is_head:
        pieces = [b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces]
        outcome.answer = b"".join(pieces) + b"0\r\n\r\n"
    else:
        outcome.answer = content
    head_size = len("HTTP/1.1 200 \r\nServer: mote\r\nContent-Type: text/plain\r\n\r\n")
    head_size += len("Date: Thu, 01 Jan 1970 00:00:00 GMT\r\n")
    head_size += sum(len(name) + len(value) + 4 for name, value in outcome.fields.items())
    if description[b"x"] is not None and description[b"x"] <= head_size + len(outcome.answer):
        outcome.cut = description[b"x"]
    # A pause comes before each piece but the first, unless the connection is reset before it.
    starts = list(itertools.accumulate(map(len, pieces), initial=head_size))[1:-1]
    pauses = sum(outcome.cut is None or start < outcome.cut for start in starts)
    outcome.ms = description[b"t"] + description[b"d"] * pauses


def decimal(digits):
    """The number; of more than 30 digits only that it is large."""
    significant = digits.lstrip(b"0")
    return int(significant or b"0") if len(significant) <= 30 else 10**30


def closes(request):
    """Section 9.3: "close" always ends the connection; without it HTTP/1.0 needs "keep-alive" to go on."""
    if b"close" in request.options:
        return True
    return request.minor == 0 and b"keep-alive" not in request.options


def sum_of(request, query):
    """The integers among the query's values and, for POST, the content if it is one; wraps at 64 bits."""
    total = 0
    for pair in query.split(b"&"):
        _, _, value = pair.partition(b"=")
        total += integer(value) or 0
    if request.method == b"POST":
        total += integer(request.content.strip(b" \t\r\n")) or 0
    return (total + 2**63) % 2**64 - 2**63


def integer(text):
    """["-"] 1*DIGIT in the range of a signed 64-bit integer, or None."""
    digits = text[1:] if text[:1] == b"-" else text
    if digits == b"":
        return None
    value = 0
    for byte in digits:
        if byte not in DIGIT:
            return None
        value = 10 * value + byte - 0x30
        if value > 2**63:
            return None
    if text[:1] == b"-":
        return -value
    return value if value < 2**63 else None
