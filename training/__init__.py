"""Training of the shipped networks; needs PyTorch and embreex, which the installed package never imports."""
