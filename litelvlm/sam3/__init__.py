"""SAM 3 for images: files to prepared pixels, phrases to instances, instances to one mask a phrase."""
