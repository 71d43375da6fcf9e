"""The stages of `python -m training.rented_gpu`, a file each, and what runs and reports them."""
