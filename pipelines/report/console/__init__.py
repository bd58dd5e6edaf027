"""Facts of reports, printed on the console; nothing else in `report` prints."""
