-- PUT_FILE: record a file whose content is stored. The same call twice is fine.
-- KEYS   none
-- ARGV   1 id, 2 name, 3 purpose, 4 bytes, 5 seconds that it is kept or ''
-- RETURN its record as a flat list
local id, name, purpose, size, ttl_s = unpack(ARGV)
if redis.call('EXISTS', key.file(id)) == 0 then
  local now = now_ms()
  redis.call('HSET', key.file(id), 'name', name, 'purpose', purpose, 'size', size, 'created_ms', now)
  redis.call('ZADD', key.files(), redis.call('INCR', key.file_sequence()), id)
  if ttl_s ~= '' then
    local due = now + tonumber(ttl_s) * 1000
    redis.call('HSET', key.file(id), 'expires_ms', due)
    redis.call('ZADD', key.files_expiring(), due, id)
  end
end
return redis.call('HGETALL', key.file(id))
