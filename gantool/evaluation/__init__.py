"""What lies behind `gantool evaluate`: pictures by pairs and by sets, and what is told of them."""
