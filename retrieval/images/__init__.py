"""From the bytes of any image to `u8[h, w, c]`, the same way for every command: the only package that uses Pillow."""
