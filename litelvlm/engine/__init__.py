"""The batched engine: a tensor-free scheduler, a runner that owns the tensors, and the annotator in front of both."""
