-- Posts the bodies of a file in turn, as wrk's script: wrk ... -s serving_wrk.lua URL -- FILE [HEADER: VALUE]...
-- The file holds each body after its length, 4 bytes, the highest first. Tells in JSON what wrk has counted.
local requests, at = {}, 0

function init(arguments)
  wrk.method = "POST"
  for place = 2, #arguments do
    local name, value = arguments[place]:match("^([^:]+):%s*(.*)$")
    wrk.headers[name] = value
  end
  local file = assert(io.open(arguments[1], "rb"))
  while true do
    local length = file:read(4)
    if not length then break end
    local a, b, c, d = length:byte(1, 4)
    requests[#requests + 1] = wrk.format(nil, nil, nil, file:read(((a * 256 + b) * 256 + c) * 256 + d))
  end
  file:close()
end

function request()
  at = at % #requests + 1
  return requests[at]
end

function done(summary, latency)
  local errors = summary.errors
  io.write(string.format(
    '\nTOLD {"requests": %d, "seconds": %.6f, "refused": %d, "broken": %d, "late": %d, ' ..
      '"p50": %.3f, "p90": %.3f, "p99": %.3f, "p999": %.3f, "max": %.3f}\n',
    summary.requests, summary.duration / 1e6, errors.status, errors.connect + errors.read + errors.write,
    errors.timeout, latency:percentile(50) / 1e3, latency:percentile(90) / 1e3, latency:percentile(99) / 1e3,
    latency:percentile(99.9) / 1e3, latency.max / 1e3))
end
