"""How files of each format are written; `images.writing` chooses among them."""
