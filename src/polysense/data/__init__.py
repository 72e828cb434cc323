"""Records, schema, media, splits and the cache: everything between a file and arrays."""
