"""Whether CLIP finds the patches inside of what a phrase means more or less similar to it than those outside."""
