-- For wrk: 16 requests in one write. wrk counts each of them, and the time until all are answered.
local batch

function init()
  batch = string.rep(wrk.format(), 16)
end

function request()
  return batch
end
