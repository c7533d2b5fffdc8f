"""Queues: messages of Kafka, Redis Streams, SQS and NATS JetStream are written to the inbox, each at least once.

Owns the connection to a queue and the protocol of reading it (consume.py): a batch is made durable in the inbox, then the
position, then the batch is acknowledged. It does not validate rows. Each queue's client library is an extra of the package,
imported when it is used. docs/operate/queues.md.
"""

from pipeline.feeds.queues.consume import Consumed, Limits, Queue, consume
from pipeline.feeds.queues.kafka import KafkaTopic
from pipeline.feeds.queues.nats_jetstream import NatsStream
from pipeline.feeds.queues.redis_streams import RedisStream
from pipeline.feeds.queues.sqs import SqsQueue

__all__ = ["Consumed", "KafkaTopic", "Limits", "NatsStream", "Queue", "RedisStream", "SqsQueue", "consume"]
