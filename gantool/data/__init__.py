"""Folders of pictures as training samples."""
