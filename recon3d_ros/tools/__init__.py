"""The command line: recon3d demo | replay | run | bag | eval."""
