"""What runs on the device that a bundle is for: its facts, the vendor's engine build, receipts."""
