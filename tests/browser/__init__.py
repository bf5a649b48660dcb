"""The page of a report in a real browser, headless: run by `make test-pages`."""
