//! The names of the mesh, and what to do with one query. Pure: bytes in, verdict out.

use std::{
    collections::HashMap,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

use hickory_proto::{
    op::{Message, MessageType, OpCode, Query, ResponseCode},
    rr::{
        DNSClass, RData, Record, RecordType,
        rdata::{A, AAAA},
    },
};

use crate::dynconf::DnsConfig;

/// Without EDNS a client takes this much over UDP.
const PLAIN_UDP: u16 = 512;
/// Flags and counts come before the question.
const HEADER: usize = 12;

/// The names of the mesh with their addresses.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Names {
    ttl: u32,
    /// By name in lower case with the trailing dot.
    addresses: HashMap<String, Addresses>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Addresses {
    v4: Vec<Ipv4Addr>,
    v6: Vec<Ipv6Addr>,
}

/// What to do with a query.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Send this back.
    Answer(Vec<u8>),
    /// Ask a nameserver; a client over UDP takes this many bytes.
    Forward(u16),
    /// It is no query: say nothing.
    Ignore,
}

impl Names {
    /// Takes what the control plane sent; addresses that cannot be read are left out and logged.
    pub fn new(config: &DnsConfig) -> Self {
        let mut addresses: HashMap<String, Addresses> = HashMap::with_capacity(config.records.len());
        for record in &config.records {
            let entry = addresses.entry(key(&record.name)).or_default();
            for text in &record.ips {
                // The spelling decides the family: a mapped address is sent in hex groups and stays IPv6.
                match text.parse() {
                    Ok(IpAddr::V4(ip)) => entry.v4.push(ip),
                    Ok(IpAddr::V6(ip)) => entry.v6.push(ip),
                    Err(_) => tracing::warn!(name = record.name, address = text, "DNS record left out: not an address"),
                }
            }
        }
        Self { ttl: config.ttl, addresses }
    }

    /// How many names there are.
    pub fn len(&self) -> usize {
        self.addresses.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.addresses.is_empty()
    }

    /// Decides about the bytes of one message.
    pub fn judge(&self, message: &[u8]) -> Verdict {
        let Ok(query) = Message::from_vec(message) else {
            return match format_error(message) {
                Some(answer) => Verdict::Answer(answer),
                None => Verdict::Ignore,
            };
        };
        if query.metadata.message_type != MessageType::Query {
            return Verdict::Ignore;
        }
        match self.answer(&query) {
            Some(answer) => Verdict::Answer(answer),
            None => Verdict::Forward(query.edns.as_ref().map_or(PLAIN_UDP, |e| e.max_payload().max(PLAIN_UDP))),
        }
    }

    fn answer(&self, query: &Message) -> Option<Vec<u8>> {
        let question = query.queries.first()?;
        if query.metadata.op_code != OpCode::Query || question.query_class() != DNSClass::IN {
            return None;
        }
        let kind = question.query_type();
        if !matches!(kind, RecordType::A | RecordType::AAAA) {
            return None;
        }
        let found = self.addresses.get(&key(&question.name().to_ascii()))?;
        let record = |data| Record::from_rdata(question.name().clone(), self.ttl, data);
        let records: Vec<Record> = if kind == RecordType::A {
            found.v4.iter().map(|ip| record(RData::A(A(*ip)))).collect()
        } else {
            found.v6.iter().map(|ip| record(RData::AAAA(AAAA(*ip)))).collect()
        };
        let mut answer = reply(query, question.clone(), ResponseCode::NoError);
        answer.metadata.authoritative = true;
        answer.answers = records;
        answer.to_vec().ok()
    }
}

/// A SERVFAIL for `message`, if it is a query at all.
pub fn server_failure(message: &[u8]) -> Option<Vec<u8>> {
    let query = Message::from_vec(message).ok()?;
    let question = query.queries.first()?.clone();
    reply(&query, question, ResponseCode::ServFail).to_vec().ok()
}

/// The question at the head of `message`, to match an answer with.
pub fn question_of(message: &[u8]) -> Option<(u16, Query)> {
    let message = Message::from_vec(message).ok()?;
    Some((message.metadata.id, message.queries.first()?.clone()))
}

fn reply(query: &Message, question: Query, code: ResponseCode) -> Message {
    let mut answer = Message::response(query.metadata.id, query.metadata.op_code);
    answer.metadata.recursion_desired = query.metadata.recursion_desired;
    answer.metadata.response_code = code;
    answer.add_query(question);
    answer
}

/// FORMERR for a broken query: its header as far as it goes, and nothing else.
fn format_error(message: &[u8]) -> Option<Vec<u8>> {
    let header = message.get(..HEADER)?;
    let is_query = header[2] & 0x80 == 0;
    is_query.then(|| vec![header[0], header[1], 0x80 | (header[2] & 0x79), 1, 0, 0, 0, 0, 0, 0, 0, 0])
}

fn key(name: &str) -> String {
    let mut key = name.to_ascii_lowercase();
    if !key.ends_with('.') {
        key.push('.');
    }
    key
}

#[cfg(test)]
mod tests {
    use hickory_proto::{op::Edns, rr::Name};

    use super::*;
    use crate::dynconf::DnsRecord;

    fn names() -> Names {
        let record = |name: &str, ips: &[&str]| DnsRecord {
            name: name.into(),
            ips: ips.iter().map(|ip| (*ip).to_owned()).collect(),
        };
        Names::new(&DnsConfig {
            records: vec![
                record("backend.svc.mesh.local", &["241.0.0.0", "::ffff:f100:0"]),
                record("v4.mesh", &["241.0.0.1", "not an address"]),
            ],
            ttl: 30,
            ..DnsConfig::default()
        })
    }

    fn query(name: &str, kind: RecordType) -> Message {
        let mut message = Message::query();
        message.metadata.id = 4711;
        message.metadata.recursion_desired = true;
        message.add_query(Query::query(Name::from_ascii(name).unwrap(), kind));
        message
    }

    fn ask(message: &Message) -> Verdict {
        names().judge(&message.to_vec().unwrap())
    }

    fn answer(name: &str, kind: RecordType) -> Message {
        match ask(&query(name, kind)) {
            Verdict::Answer(bytes) => Message::from_vec(&bytes).unwrap(),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn mesh_names_are_answered_by_family_whatever_the_case() {
        let reply = answer("Backend.SVC.mesh.local.", RecordType::A);
        assert_eq!(reply.metadata.id, 4711);
        assert!(reply.metadata.authoritative && reply.metadata.recursion_desired);
        assert!(!reply.metadata.recursion_available && reply.edns.is_none());
        assert_eq!(reply.queries[0].name().to_ascii(), "Backend.SVC.mesh.local.");
        assert_eq!(reply.answers.len(), 1);
        assert_eq!((reply.answers[0].ttl, reply.answers[0].data.clone()), (30, RData::A(A::new(241, 0, 0, 0))));

        let reply = answer("backend.svc.mesh.local.", RecordType::AAAA);
        assert_eq!(reply.answers[0].data, RData::AAAA(AAAA("::ffff:f100:0".parse().unwrap())));
    }

    #[test]
    fn a_known_name_without_an_address_of_the_family_has_an_empty_answer() {
        let reply = answer("v4.mesh.", RecordType::AAAA);
        assert_eq!(reply.metadata.response_code, ResponseCode::NoError);
        assert!(reply.answers.is_empty());
    }

    #[test]
    fn everything_else_is_forwarded_with_the_size_the_client_takes() {
        assert_eq!(ask(&query("example.com.", RecordType::A)), Verdict::Forward(512));
        assert_eq!(ask(&query("backend.svc.mesh.local.", RecordType::HTTPS)), Verdict::Forward(512));
        let mut edns = Edns::new();
        edns.set_max_payload(1232);
        let mut message = query("example.com.", RecordType::A);
        message.set_edns(edns);
        assert_eq!(ask(&message), Verdict::Forward(1232));
    }

    #[test]
    fn broken_queries_are_answered_and_answers_are_not() {
        let bytes = query("example.com.", RecordType::A).to_vec().unwrap();
        let Verdict::Answer(error) = names().judge(&bytes[..20]) else { panic!("no answer to a broken query") };
        let error = Message::from_vec(&error).unwrap();
        assert_eq!((error.metadata.id, error.metadata.response_code), (4711, ResponseCode::FormErr));
        assert_eq!(names().judge(&bytes[..5]), Verdict::Ignore);
        let mut response = bytes;
        response[2] |= 0x80;
        assert_eq!(names().judge(&response), Verdict::Ignore);
        assert_eq!(names().judge(&response[..20]), Verdict::Ignore);
    }

    #[test]
    fn a_failure_echoes_the_question() {
        let bytes = query("example.com.", RecordType::A).to_vec().unwrap();
        let failure = Message::from_vec(&server_failure(&bytes).unwrap()).unwrap();
        assert_eq!(failure.metadata.response_code, ResponseCode::ServFail);
        assert_eq!(question_of(&bytes).unwrap().1, failure.queries[0]);
    }
}
