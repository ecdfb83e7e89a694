"""What analysts do: commands that check the role and write the audit in one transaction."""
