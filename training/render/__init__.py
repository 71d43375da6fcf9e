"""Procedural street scenes, ray cast on the CPU: images with exact metric depth to train on."""
