"""What the tests are made of: compiling, private directories, sandbox roots, running and comparing."""
