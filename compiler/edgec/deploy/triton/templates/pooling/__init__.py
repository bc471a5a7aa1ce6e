"""The last step of an embedding ensemble: token vectors to one vector per text; edgec itself never imports it.

Rule: only the standard library, numpy and what Triton provides.
"""
