"""RKNN for the NPU of Rockchip's chips: compiled by rknn-toolkit2 and run on its simulator before it is written."""
