// Package device tells from a User-Agent text what device, system and program a client is, as the guest ABI's JSON record.
//
// The knowledge is that of the uap-core project, some 1,200 regular expressions, in the form that uap-go
// keeps them; docs/GEO_AND_DEVICE.md says how the record is made of it. Nothing of it is loaded before the first question,
// which waits for that; a Detector that is never asked costs a few bytes.
//
// Texts come from anybody. Go's regular expressions take time linear in the text, texts of more than MaxUserAgent bytes are
// not looked at, and an expression runs only where the text holds the words that it needs. Answers are kept, those that
// nothing is known as well, in a cache whose bytes are bounded; a hit takes no lock. The Detector's methods are safe for
// concurrent use.
//
// Overrides are records by the exact text, such as a manifest has them. A Finder puts both together.
package device
