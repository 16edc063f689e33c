-- wrk: POST allocate of 4 KiB and DELETE of what came back, one for one.
local ids, made = {}, nil
local post = nil

function init()
  wrk.headers["Content-Type"] = "application/json"
  post = wrk.format("POST", "/api/memory/allocations/allocate/host:0", nil, '{"sizeBytes":4096}')
end

function request()
  local id = table.remove(ids)
  if id then
    return wrk.format("DELETE", "/api/memory/allocations/" .. id)
  end
  return post
end

function response(status, headers, body)
  local id = body:match('"allocation":{"allocationId":"([^"]+)"')
  if id then
    ids[#ids + 1] = id
  elseif status ~= 200 then
    wrk.thread:stop()
  end
end
