-- VIEW: what readers see of jobs: the record without its input, and how its queue stands.
-- KEYS   none
-- ARGV   1 lease in ms, 2 number of fields, then the fields, then job ids
-- RETURN one row per id: 'gone' | 'unknown'
--        | {field values, position or '', live workers, free slots, slots, rate or '',
--           mean run in ms or '', now, why it waits: ''|'pending'|'suspect'|'retrying'|'following'}
local lease_ms, n, now = tonumber(ARGV[1]), tonumber(ARGV[2]), now_ms()
local queues, rows = {}, {}

local function standing(queue)
  if not queues[queue] then
    local live, free, slots = capacity(queue, now, lease_ms)
    local rate = drain_rate(queue, now)
    queues[queue] = {live, free, slots, rate and tostring(rate) or '',
      redis.call('HGET', key.service(queue), 'run_ms') or ''}
  end
  return queues[queue]
end

local function waiting(id, queue, rank)
  local function ahead(set) return redis.call('ZCOUNT', set, '-inf', '(' .. rank) end
  local position = ahead(key.pending(queue)) + ahead(key.suspects(queue)) + 1
  if redis.call('ZSCORE', key.pending(queue), id) then return position, 'pending' end
  if redis.call('ZSCORE', key.suspects(queue), id) then return position, 'suspect' end
  if redis.call('ZSCORE', key.retrying(queue), id) then return '', 'retrying' end
  return '', 'following'
end

for i = 3 + n, #ARGV do
  local id = ARGV[i]
  local row = redis.call('HMGET', key.job(id), unpack(ARGV, 3, 2 + n))
  local facts = get(id, 'state', 'queue', 'rank', 'expires_ms')
  if not facts[1] then
    rows[#rows + 1] = redis.call('EXISTS', key.gone(id)) == 1 and 'gone' or 'unknown'
  elseif facts[4] and tonumber(facts[4]) <= now then
    rows[#rows + 1] = 'gone'
  else
    local s, position, why = standing(facts[2]), '', ''
    if facts[1] == 'queued' then position, why = waiting(id, facts[2], facts[3]) end
    for f = 1, n do row[f] = row[f] or '' end
    rows[#rows + 1] = {row, position, s[1], s[2], s[3], s[4], s[5], now, why}
  end
end
return rows
