SELECT json_group_array(key) FROM (SELECT key FROM keys LIMIT 20000 OFFSET ?)
