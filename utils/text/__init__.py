"""Text before it meets a network: subword tokenizers and count-based n-gram language models."""
