"""An ingest on a Ray cluster: the driver distributes pages of the listings, and workers process them."""
