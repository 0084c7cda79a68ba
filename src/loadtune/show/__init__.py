"""What people see: terminal, CSV, JSON, Markdown, the HTML report."""
