DROP TABLE session_events;
DROP TABLE event_sequences;
