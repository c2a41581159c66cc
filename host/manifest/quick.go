package manifest

// NewBackend gives the definition of a backend that is a URL alone, as a manifest with nothing but the key url has it. An
// error says what is wrong with the URL, without repeating it, for it may hold a password.
func NewBackend(name, url string) (Backend, error) {
	b := Backend{Name: name, UseSNI: true}
	if err := b.setURL(url); err != nil {
		return Backend{}, err
	}
	b.CertHost = b.Host
	return b, nil
}
