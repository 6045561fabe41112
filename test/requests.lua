-- What wrk sends: wrk [options] --script requests.lua URL -- PROFILE
--   baseline   GET, POST with Content-Length and chunked POST in rotation, one at a time
--   pipelined  16 GETs at once
--   short      the baseline, but every tenth request ends its connection
-- Prints one line of key=value pairs at the end.

local get = "GET /baseline11?a=13&b=42 HTTP/1.1\r\nHost: localhost:8080\r\n\r\n"
local post = "POST /baseline11?a=13&b=42 HTTP/1.1\r\nHost: localhost:8080\r\nContent-Type: text/plain\r\n"
local rotation = {
  get,
  post .. "Content-Length: 2\r\n\r\n20",
  post .. "Transfer-Encoding: chunked\r\n\r\n2\r\n20\r\n0\r\n\r\n",
}
local last = "GET /baseline11?a=13&b=42 HTTP/1.1\r\nHost: localhost:8080\r\nConnection: close\r\n\r\n"
local pipelined = string.rep("GET /pipeline HTTP/1.1\r\nHost: localhost:8080\r\n\r\n", 16)

local profile, count = nil, 0

function init(arguments)
  profile = arguments[1]
  if profile == "pipelined" then
    request = function() return pipelined end
  elseif profile == "get" then request = function() return get end
  elseif profile == "post" then request = function() return rotation[2] end
  elseif profile == "chunked" then request = function() return rotation[3] end
  elseif profile == "baseline" then
    request = function()
      count = count + 1
      return rotation[count % 3 + 1]
    end
  elseif profile == "short" then
    request = function()
      count = count + 1
      return count % 10 == 0 and last or rotation[count % 3 + 1]
    end
  else
    error("unknown profile")
  end
end

function done(summary, latency)
  local errors = summary.errors
  print(string.format(
    "requests=%d duration_us=%d bytes=%d p50_us=%d p99_us=%d status_errors=%d socket_errors=%d timeouts=%d",
    summary.requests, summary.duration, summary.bytes, latency:percentile(50), latency:percentile(99),
    errors.status, errors.connect + errors.read + errors.write, errors.timeout))
end
