"""The measuring process: builds a loader, takes batches, times them. With workloads, the only room to import torch."""
