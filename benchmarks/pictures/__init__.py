"""Speed of models that see pictures, beside other libraries."""
