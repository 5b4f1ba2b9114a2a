-- The events of an attempt are one document in its row: a status is read with one seek instead of one for each event.
-- It holds the newest PAGE_EVENTS (100, see events.rs); each hundred before them is a page of its own.

CREATE TABLE event_page (
  attempt_id TEXT NOT NULL,           -- of an attempt or a repository attempt
  number BIGINT NOT NULL,             -- counts the attempt's pages from 0
  events TEXT NOT NULL                -- JSON: [[time in ms, kind, text, external id or null], …], oldest first
);
CREATE UNIQUE INDEX event_page_by_attempt ON event_page (attempt_id, number);

ALTER TABLE attempt ADD COLUMN events TEXT NOT NULL DEFAULT '[]';
ALTER TABLE repository_attempt ADD COLUMN event_count BIGINT NOT NULL DEFAULT 0;
ALTER TABLE repository_attempt ADD COLUMN events TEXT NOT NULL DEFAULT '[]';

-- sqlite only
UPDATE repository_attempt
   SET event_count = (SELECT count(*) FROM event WHERE attempt_id = repository_attempt.id);

INSERT INTO event_page (attempt_id, number, events)
  SELECT attempt_id, seq / 100, json_group_array(json_array(time_ms, kind, text, external_id) ORDER BY seq)
    FROM event e
   WHERE seq / 100 < (SELECT max(seq) / 100 FROM event newest WHERE newest.attempt_id = e.attempt_id)
   GROUP BY attempt_id, seq / 100;

UPDATE attempt SET events =
  (SELECT json_group_array(json_array(time_ms, kind, text, external_id) ORDER BY seq)
     FROM event WHERE attempt_id = attempt.id AND seq >= (attempt.event_count - 1) / 100 * 100)
 WHERE event_count > 0;

UPDATE repository_attempt SET events =
  (SELECT json_group_array(json_array(time_ms, kind, text, external_id) ORDER BY seq)
     FROM event WHERE attempt_id = repository_attempt.id
      AND seq >= (repository_attempt.event_count - 1) / 100 * 100)
 WHERE event_count > 0;

-- end
DROP TABLE event;
