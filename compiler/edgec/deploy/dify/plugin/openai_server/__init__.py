"""The client of an OpenAI-compatible server, above all llama.cpp's: no models of Dify, only its errors."""
