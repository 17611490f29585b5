"""Signal arithmetic: levels, timing, rooms, targets, draws and the render of one mixture. Arrays in, arrays out."""
