"""Storage: files on disks and object stores, their seals and failures. Nothing here knows recipes or documents."""
