"""One operator's security monitoring centre."""
