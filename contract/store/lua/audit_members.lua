-- AUDIT_MEMBERS: whether the members of a set are jobs that belong there. What has left the set
-- meanwhile is passed over.
-- KEYS   none
-- ARGV   1 the set, 2 the states that belong there, between commas, 3 a field of the record and
--        4 what it must say, or '' and '', 5.. members
-- RETURN rows of {'orphan' without a record | 'stray' if its record says otherwise, member}
local set, states, field, value = ARGV[1], ARGV[2], ARGV[3], ARGV[4]
local is_set, found = redis.call('TYPE', set).ok == 'set', {}

local function is_member(id)
  if is_set then return redis.call('SISMEMBER', set, id) == 1 end
  return redis.call('ZSCORE', set, id) ~= false
end

for i = 5, #ARGV do
  local id = ARGV[i]
  local job = get(id, 'state', field)
  local belongs = job[1] and states:find(',' .. job[1] .. ',', 1, true)
    and (field == '' or job[2] == value)
  if not belongs and is_member(id) then
    found[#found + 1] = {job[1] and 'stray' or 'orphan', id}
  end
end
return found
