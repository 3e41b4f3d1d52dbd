"""Data: where it comes from (`sources`), which split it is in (`corpora`), how it becomes batches (`batches`)."""
