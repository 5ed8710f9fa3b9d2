"""What review tools hand back, a file a format: each yields `ReviewedImage`s."""
