// Package geo answers where an IP address is, as the guest ABI's JSON record, from databases in MaxMind's format and from
// records given by hand.
//
// A Database reads City, Country, Enterprise, ASN, ISP, Connection-Type and Anonymous-IP files and merges what they know
// of an address into one record; docs/GEO_AND_DEVICE.md says which of its fields comes from where. A lookup
// takes no lock, reads no file and waits for nothing. Files are looked at once a second: a new one is read in the
// background and takes the old one's place at once, a bad one is told once and changes nothing.
//
// Overrides are records by address, such as a manifest has them. A Locator puts both together: overrides first, then the
// built-in record for loopback addresses if it is wanted, then the database. An address that none of them knows has no
// record.
//
// Files may hold anything: texts are bounded and made valid, numbers are checked, and a record that cannot be read is one that
// is not known.
package geo
