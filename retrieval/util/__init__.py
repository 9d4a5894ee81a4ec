"""What has nothing to do with images: files, processes, signals, a bounded stage."""
