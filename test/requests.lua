-- What wrk sends: wrk [options] --script requests.lua URL -- PROFILE [TARGET]
--   baseline   GET, POST with Content-Length and chunked POST in rotation, one at a time
--   pipelined  16 GETs at once
--   short      the baseline, but every tenth request ends its connection
--   get        GETs of the request target that follows
-- Prints one line of key=value pairs at the end, latencies_us being value:count pairs as wrk has them.

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
  elseif profile == "get" then
    local one = "GET " .. arguments[2] .. " HTTP/1.1\r\nHost: localhost:8080\r\n\r\n"
    request = function() return one end
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

-- All latencies that wrk has counted, as "us:count". Its own latency(index) looks through the counts anew each time, which
-- took ten seconds where latencies went up to half a second.
local function all_latencies(latency)
  local ffi = require("ffi")
  local counts = ffi.cast("struct { uint64_t count, limit, min, max, of[1]; } **", latency)[0]
  if latency.min ~= tonumber(counts.min) or latency.max ~= tonumber(counts.max) then
    error("this wrk keeps its latencies in another way")
  end
  local found = {}
  for us = latency.min, latency.max do
    if counts.of[us] > 0 then
      found[#found + 1] = string.format("%d:%d", us, tonumber(counts.of[us]))
    end
  end
  return table.concat(found, ",")
end

function done(summary, latency)
  local errors = summary.errors
  print(string.format(
    "requests=%d duration_us=%d status_errors=%d socket_errors=%d timeouts=%d latencies_us=%s", summary.requests,
    summary.duration, errors.status, errors.connect + errors.read + errors.write, errors.timeout,
    all_latencies(latency)))
end
