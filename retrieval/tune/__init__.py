"""The index that suits a collection: several are made of its own codes, measured, and the cheapest good one chosen."""
