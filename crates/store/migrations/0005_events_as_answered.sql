-- Events are stored as they are answered: [{"Event": text, "ExternalId": id, "Time": seconds, "Type": kind}, …], oldest first,
-- without ExternalId where there is none. A status is then answered without its events being read.

-- sqlite only
UPDATE attempt SET events =
  (SELECT json_group_array(json_patch('{}', json_object('Event', json_extract(value, '$[2]'),
            'ExternalId', json_extract(value, '$[3]'), 'Time', json_extract(value, '$[0]') / 1000.0,
            'Type', json_extract(value, '$[1]'))) ORDER BY key)
     FROM json_each(attempt.events))
 WHERE events <> '[]';

UPDATE repository_attempt SET events =
  (SELECT json_group_array(json_patch('{}', json_object('Event', json_extract(value, '$[2]'),
            'ExternalId', json_extract(value, '$[3]'), 'Time', json_extract(value, '$[0]') / 1000.0,
            'Type', json_extract(value, '$[1]'))) ORDER BY key)
     FROM json_each(repository_attempt.events))
 WHERE events <> '[]';

UPDATE event_page SET events =
  (SELECT json_group_array(json_patch('{}', json_object('Event', json_extract(value, '$[2]'),
            'ExternalId', json_extract(value, '$[3]'), 'Time', json_extract(value, '$[0]') / 1000.0,
            'Type', json_extract(value, '$[1]'))) ORDER BY key)
     FROM json_each(event_page.events))
 WHERE events <> '[]';
-- end
