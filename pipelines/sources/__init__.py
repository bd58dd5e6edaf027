"""Sources: from files of any format and store to shards and documents. Nothing here measures, decides or writes."""
