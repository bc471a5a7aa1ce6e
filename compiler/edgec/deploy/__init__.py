"""What a bundle carries for those who serve and use its model: one emitter each, independent of each other."""
