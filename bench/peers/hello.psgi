# Starman as a peer: the smallest PSGI application.
sub { [200, ['Content-Type' => 'text/plain', 'Content-Length' => 13], ['Hello, World!']] };
