"""The mill: decoding, signals, segmentation, scores, captions, and the jobs that run them."""
