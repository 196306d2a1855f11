"""Human studies: pages that ask people about pictures, and what their votes say."""
